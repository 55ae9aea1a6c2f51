// Command devserver is a Temporal server with its Web UI in one process.
//
// It exists for machines that can reach a Go module proxy but not the Temporal
// CLI's download site. It takes the flags of `temporal server start-dev`, so the
// Python SDK can start it in place of the CLI.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
)

const loopback = "127.0.0.1"

// repeated collects a flag that may be given many times.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, ",") }
func (r *repeated) Set(v string) error { *r = append(*r, v); return nil }

// pairs reads KEY=VALUE flags.
func (r repeated) pairs(flagName string) map[string]string {
	out := map[string]string{}
	for _, each := range r {
		key, value, found := strings.Cut(each, "=")
		if !found {
			fail("--%s wants KEY=VALUE, not %q", flagName, each)
		}
		out[key] = value
	}
	return out
}

type options struct {
	ip, uiIP, dbFile, logLevel, logFormat string
	port, uiPort, metricsPort             int
	headless                              bool
	namespaces, attributes, dynamic       repeated
	pragmas                               repeated
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "devserver: "+format+"\n", args...)
	os.Exit(1)
}

func parse(args []string) options {
	var o options
	if len(args) == 1 && args[0] == "--version" {
		fmt.Printf("holdfast devserver (Server %s, UI 2.54.1)\n", headers.ServerVersion)
		os.Exit(0)
	}
	if len(args) < 2 || args[0] != "server" || args[1] != "start-dev" {
		fail("usage: devserver server start-dev [flags]   (or --version)")
	}
	flags := flag.NewFlagSet("server start-dev", flag.ExitOnError)
	flags.StringVar(&o.ip, "ip", loopback, "address the frontend listens on")
	flags.StringVar(&o.uiIP, "ui-ip", "", "address the Web UI listens on (default: --ip)")
	flags.IntVar(&o.port, "port", 7233, "frontend port")
	flags.IntVar(&o.uiPort, "ui-port", 0, "Web UI port (default: port + 1000)")
	flags.IntVar(&o.metricsPort, "metrics-port", 0, "Prometheus port (default: any)")
	flags.StringVar(&o.dbFile, "db-filename", "", "SQLite file; without it all is kept in memory")
	flags.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn, error or never")
	flags.StringVar(&o.logFormat, "log-format", "json", "json, text or pretty")
	flags.BoolVar(&o.headless, "headless", false, "no Web UI")
	flags.Var(&o.namespaces, "namespace", "namespace to create (may be repeated)")
	flags.Var(&o.attributes, "search-attribute", "NAME=Type (may be repeated)")
	flags.Var(&o.dynamic, "dynamic-config-value", "KEY=JSON (may be repeated)")
	flags.Var(&o.pragmas, "sqlite-pragma", "KEY=VALUE (may be repeated)")
	if err := flags.Parse(args[2:]); err != nil {
		fail("%v", err)
	}
	if flags.NArg() > 0 {
		fail("unexpected argument %q", flags.Arg(0))
	}
	if o.uiPort == 0 {
		o.uiPort = o.port + 1000
	}
	if o.uiIP == "" {
		o.uiIP = o.ip
	}
	if len(o.namespaces) == 0 {
		o.namespaces = repeated{"default"}
	}
	return o
}

func freePort() int {
	listener, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		fail("no free port: %v", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func storage(o options) *config.SQL {
	sql := &config.SQL{PluginName: sqlite.PluginName, ConnectAttributes: map[string]string{}}
	if o.dbFile == "" {
		sql.DatabaseName = strconv.Itoa(rand.Int())
		sql.ConnectAttributes["mode"] = "memory"
		sql.ConnectAttributes["cache"] = "shared"
		return sql
	}
	sql.DatabaseName = o.dbFile
	sql.ConnectAttributes["mode"] = "rwc"
	for key, value := range o.pragmas.pairs("sqlite-pragma") {
		sql.ConnectAttributes[key] = value
	}
	if _, err := os.Stat(o.dbFile); os.IsNotExist(err) {
		if err := sqliteschema.SetupSchema(sql); err != nil {
			fail("cannot set up %s: %v", o.dbFile, err)
		}
	}
	return sql
}

func serverConfig(o options, sql *config.SQL) *config.Config {
	service := func(grpc int) config.Service {
		rpc := config.RPC{GRPCPort: grpc, MembershipPort: freePort(), BindOnLocalHost: true}
		return config.Service{RPC: rpc}
	}
	frontend := service(o.port)
	frontend.RPC.BindOnLocalHost, frontend.RPC.BindOnIP = false, o.ip
	if o.metricsPort == 0 {
		o.metricsPort = freePort()
	}
	address := fmt.Sprintf("%s:%d", loopback, o.port)
	var c config.Config
	c.Global.Membership = config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: loopback}
	c.Global.Metrics = &metrics.Config{Prometheus: &metrics.PrometheusConfig{
		ListenAddress: fmt.Sprintf("%s:%d", loopback, o.metricsPort), HandlerPath: "/metrics"}}
	c.Persistence = config.Persistence{
		DefaultStore: "sqlite", VisibilityStore: "sqlite", NumHistoryShards: 1,
		DataStores: map[string]config.DataStore{"sqlite": {SQL: sql}},
	}
	c.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10, MasterClusterName: "active", CurrentClusterName: "active",
		ClusterInformation: map[string]cluster.ClusterInformation{
			"active": {Enabled: true, InitialFailoverVersion: 1, RPCAddress: address}},
	}
	c.DCRedirectionPolicy = config.DCRedirectionPolicy{Policy: "noop"}
	c.Services = map[string]config.Service{
		"frontend": frontend, "history": service(freePort()),
		"matching": service(freePort()), "worker": service(freePort()),
	}
	c.Archival.History.State, c.Archival.Visibility.State = "disabled", "disabled"
	c.NamespaceDefaults.Archival.History.State = "disabled"
	c.NamespaceDefaults.Archival.Visibility.State = "disabled"
	c.PublicClient = config.PublicClient{HostPort: address}
	return &c
}

func searchAttributes(o options) map[string]enumspb.IndexedValueType {
	out := map[string]enumspb.IndexedValueType{}
	for name, kind := range o.attributes.pairs("search-attribute") {
		value, err := enumspb.IndexedValueTypeFromString(kind)
		if err != nil {
			fail("--search-attribute %s: %v", name, err)
		}
		out[name] = value
	}
	return out
}

func dynamicConfig(o options) dynamicconfig.StaticClient {
	values := dynamicconfig.StaticClient{}
	for key, text := range o.dynamic.pairs("dynamic-config-value") {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			fail("--dynamic-config-value %s: %q is not JSON: %v", key, text, err)
		}
		if number, isFloat := value.(float64); isFloat && number == float64(int(number)) {
			value = int(number)
		}
		values[dynamicconfig.MakeKey(key)] = value
	}
	return values
}

// endOfInput closes when whoever started us has gone, even by SIGKILL: the pipe
// on our standard input then ends. Only asked for by the environment, as a shell
// or a container gives no such pipe.
func endOfInput() <-chan struct{} {
	gone := make(chan struct{})
	if os.Getenv("HOLDFAST_STOP_AT_END_OF_INPUT") == "" {
		return gone
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	return gone
}

func main() {
	o := parse(os.Args[1:])
	sql := storage(o)
	for _, name := range o.namespaces {
		namespace, err := sqliteschema.NewNamespaceConfig("active", name, false, searchAttributes(o))
		if err != nil {
			fail("namespace %s: %v", name, err)
		}
		if err := sqliteschema.CreateNamespaces(sql, namespace); err != nil {
			fail("namespace %s: %v", name, err)
		}
	}
	conf := serverConfig(o, sql)
	level := o.logLevel
	if level == "never" {
		level = "fatal"
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: level}))
	authorizer, err := authorization.GetAuthorizerFromConfig(&conf.Global.Authorization)
	if err != nil {
		fail("%v", err)
	}
	server, err := temporal.NewServer(
		temporal.WithConfig(conf),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorizer),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
		temporal.WithDynamicConfigClient(dynamicConfig(o)),
	)
	if err != nil {
		fail("cannot build the server: %v", err)
	}
	if err := server.Start(); err != nil {
		fail("cannot start: %v", err)
	}
	if !o.headless {
		ui := uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
			TemporalGRPCAddress: fmt.Sprintf("%s:%d", loopback, o.port),
			Host:                o.uiIP, Port: o.uiPort, EnableUI: true,
			DefaultNamespace: o.namespaces[0], DisableNewsFetch: true,
			CORS: uiconfig.CORS{CookieInsecure: true},
		}))
		go func() {
			if err := ui.Start(); err != nil {
				fmt.Fprintf(os.Stderr, "devserver: Web UI: %v\n", err)
			}
		}()
	}
	// Not before the start: a server stopped while it starts hangs, a killed one does not,
	// and SQLite minds neither.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
	case <-endOfInput():
	}
	if err := server.Stop(); err != nil {
		fail("stopping: %v", err)
	}
}
