"""What must hold in every world: after each step, and once it has come to rest. Providers are asked as well as rows."""

from collections import Counter
from datetime import timedelta
from typing import Any, Final

from models import facts
from models.facts import INVOICE_PAID
from tests.sim.contacts import may_be_written_to, nothing_on_hold_was_begun
from tests.sim.memory import text_of
from tests.sim.runs import Broken, Run
from tests.sim.world import NAMES, World
from workers import audit
from workflows.playbook import Playbook

SETTLED: Final = ("paid", "void", "uncollectible")
LEAVES: Final = (
    "charge",
    "email",
    "banner",
    "access",
    "cancel_subscription",
    "hold_retries",
    "offer",
    "apply_offer",
    "task",
)
"""Kinds of effects that a customer or a colleague sees."""
BY_LOOKING: Final = ("payment-failure", "reinstatement")
"""Playbooks whose endings are only hints until Stripe confirms them."""


class Checker:
    """Remembers what it has seen, so that each step costs only what is new."""

    def __init__(self) -> None:
        self.charges = 0
        self.paid: Counter[str] = Counter()
        self.mails = 0
        self.mail_keys: Counter[str] = Counter()
        self.effects = 0
        self.done: dict[str, int] = {}

    def __call__(self, world: World) -> None:
        """After each step.

        Raises:
            Broken: the first thing that does not hold.
        """
        self._charges(world)
        self._mails(world)
        self._claims(world)
        for run in world.temporal.runs.values():
            if run.instance is not None and self.done.get(run.case.id) != len(run.activations):
                self.done[run.case.id] = len(run.activations)
                steps_in_order(world, run)

    def _charges(self, world: World) -> None:
        """At most one charge takes money for an invoice, and never more than was due."""
        ledger = world.stripe.ledger
        for entry in ledger[self.charges :]:
            if entry.outcome == "ok":
                self.paid[entry.invoice] += 1
                if self.paid[entry.invoice] > 1:
                    raise Broken(f"charged twice: {entry.invoice}, the second time by {entry.by}")
        self.charges = len(ledger)

    def _mails(self, world: World) -> None:
        """No mail leaves twice, none without a claim that stands, none with words missing or to those who opted out."""
        if world.accepted:
            raise Broken(f"mail without a claim: {world.accepted[0]}")
        for mail in world.mails[self.mails :]:
            key = mail.custom_args["effect"]
            self.mail_keys[key] += 1
            if self.mail_keys[key] > 1:
                raise Broken(f"mail sent twice: {key}")
            rows = world.database.rows(
                "SELECT json_extract(e.what, '$.marketing'), a.opted_out_at FROM effects e JOIN accounts a"
                " ON a.id = e.account_id WHERE e.key = ?",
                key,
            )
            if not rows:
                raise Broken(f"mail without a ledger row: {key}")
            if rows[0][0] and rows[0][1] and rows[0][1] < text_of(world.clock.now - timedelta(seconds=5)):
                raise Broken(f"marketing mail to somebody who opted out: {key}")
            may_be_written_to(world, mail)
        self.mails = len(world.mails)

    def _claims(self, world: World) -> None:
        """Nothing is begun for a case after the news that ended it was on disk, except what is owed at its end."""
        ((count,),) = world.database.rows("SELECT count(*) FROM effects")
        if count == self.effects:
            return
        self.effects = count
        if world.fired["hold"]:
            nothing_on_hold_was_begun(world)
        late = world.database.rows(
            "SELECT e.key, e.kind, e.playbook, e.case_id, i.kind, i.subject, i.object_id, e.wall_claimed_at"
            " FROM effects e JOIN cases c ON c.id = e.case_id JOIN inbox i ON i.account_id = e.account_id"
            " WHERE e.state != 'dropped' AND e.key NOT LIKE '%/ending:%' AND i.state IN ('pending', 'applied')"
            # A dispute does not say whose it is; it is news once the relay has found out. Not '9': beside a column of
            # dates SQLite takes that for a number, and numbers come before all text.
            " AND (CASE i.kind WHEN 'payment.disputed' THEN coalesce(i.wall_settled_at, 'not yet')"
            " ELSE i.wall_received_at END) < e.wall_claimed_at AND i.occurred_at >= c.opened_at"
        )
        for key, kind, playbook, case, news, subject, about, claimed in late:
            if (
                kind in LEAVES
                and news in NAMES[playbook].ends_on
                and self._ends(world, playbook, case, news, subject, about, claimed)
            ):
                raise Broken(f"begun after {news} was known: {key}")

    def _ends(self, world: World, playbook: str, case: str, news: str, subject: str, about: str, claimed: str) -> bool:
        subjects = [row[0] for row in world.database.rows("SELECT subject FROM case_subjects WHERE case_id = ?", case)]
        if playbook not in BY_LOOKING:
            mine = {"", *subjects, *(each.partition("/")[0] for each in subjects)}
            return subject in mine
        if news in (facts.PAYMENT_REFUNDED, facts.PAYMENT_DISPUTED):
            # A dispute of any charge ends it, a refund only of one of the case's own.
            return news == facts.PAYMENT_DISPUTED
        if news == facts.SUBSCRIPTION_CANCELLED:
            return False  # of which subscription, and whether by us: the picture says it, and the audit at rest
        # Paid or given up: over only if all of the case's invoices were, by then and to our knowledge.
        known = {
            row[0]
            for row in world.database.rows(
                "SELECT subject FROM inbox WHERE kind IN (?, ?, ?) AND wall_received_at < ?",
                INVOICE_PAID,
                facts.INVOICE_VOIDED,
                facts.INVOICE_WRITTEN_OFF,
                claimed,
            )
        }
        joined = [
            row[0] for row in world.database.rows("SELECT s.subject FROM case_subjects s WHERE s.case_id = ?", case)
        ]
        return bool(joined) and set(joined) <= known


def steps_in_order(world: World, run: Run) -> None:
    """Steps are taken in the plan's order; one that is passed over was skipped by somebody or left out for a reason."""
    code: Playbook | Any = run.code
    if code is None:
        return
    plan = [step.name for step in code._steps]
    done = [name for name in code._done if name in plan]
    places = [plan.index(name) for name in done]
    if places != sorted(set(places)):
        raise Broken(f"steps out of order: {run.case.id} took {done} of {plan}")
    before = plan[: places[-1]] if places else []
    for name in before:
        if name in done or name in code._left_out or (run.case.id, name) in world.skipped:
            continue
        raise Broken(f"step passed over without a reason: {run.case.id} {name}")


async def at_rest(world: World) -> None:
    """Once nothing is under way any more.

    Raises:
        Broken: something hangs, is owed, or does not agree with the providers.
    """
    report = await audit.audit(world.database)
    if report.violations:
        raise Broken(f"audit: {report.violations[0]}")
    _events_end(world)
    _cases_and_runs_agree(world)
    _mails_agree(world)
    _access_agrees(world)
    _offers_agree(world)
    _stripe_agrees(world)


def _events_end(world: World) -> None:
    for kind, state, reason in world.database.rows("SELECT type, state, reason FROM inbox"):
        if state == "pending":
            raise Broken(f"an event has no end: {kind}: {reason}")
    kept = {row[0] for row in world.database.rows("SELECT event_id FROM inbox WHERE source = 'stripe'")}
    for event in world.door.events:
        if event not in kept:
            raise Broken(f"an event got lost: {event}")


def _cases_and_runs_agree(world: World) -> None:
    """An open case has a run that waits for something, an ended one has none that goes on."""
    rows = world.database.rows("SELECT id, ended, outcome, reason FROM cases")
    for case, ended, outcome, reason in rows:
        run = world.temporal.runs.get(case)
        if run is None:
            raise Broken(f"case without a run: {case}")
        if run.terminated:
            continue
        if bool(ended) != (run.ending is not None):
            stuck = [(each.batch.step, each.tries, each.error) for each in run.activities.values()]
            raise Broken(f"case and run disagree: {case} ended={ended} {outcome}, run {run.ending}, {stuck}")
        if run.ending and (run.ending.outcome, run.ending.reason) != (outcome, reason):
            raise Broken(f"case and run tell different ends: {case} {outcome}/{reason}, {run.ending}")
        if not ended and not (run.timers or run.activities or _waits(world, run)):
            raise Broken(f"an open case waits for nothing: {case}")
        for activity in run.activities.values():
            if activity.tries > 3:
                raise Broken(f"an activity never succeeds: {case} {activity.batch.step}: {activity.error}")
    for case in world.temporal.runs:
        if case not in {row[0] for row in rows}:
            raise Broken(f"run without a case: {case}")


def _waits(world: World, run: Run) -> bool:
    world.temporal.in_cache(run)
    return bool(run.code._paused_at or run.code._open_tasks)


def _mails_agree(world: World) -> None:
    sent = {mail.custom_args["effect"] for mail in world.mails}
    for key, state in world.database.rows("SELECT key, state FROM effects WHERE kind = 'email'"):
        if state == "claimed":
            raise Broken(f"a claim is left: {key}")
        if (state == "done") and key not in sent:
            raise Broken(f"the ledger has a mail that never left: {key}")
        if state in ("dropped", "refused") and key in sent:
            raise Broken(f"a mail left that the ledger calls {state}: {key}")
        if state == "in_doubt" and not world.struck_in("sendgrid", "activity"):
            raise Broken(f"in doubt though no answer was lost: {key}")
    unasked = world.database.rows(
        "SELECT e.key FROM effects e LEFT JOIN tasks t ON t.key = e.key || '/in_doubt'"
        " WHERE e.state = 'in_doubt' AND e.kind = 'email' AND e.wall_claimed_at < ? AND t.key IS NULL",
        text_of(world.clock.now - timedelta(hours=2)),
    )
    if unasked:
        raise Broken(f"in doubt, and nobody is asked: {unasked[0][0]}")
    for key, kind in world.database.rows("SELECT key, kind FROM effects WHERE state = 'claimed'"):
        raise Broken(f"a claim is left: {key} ({kind})")


def _access_agrees(world: World) -> None:
    """The product knows what we know; and whoever has paid everything is not restricted."""
    levels = dict(world.database.rows("SELECT account_id, level FROM access"))
    if levels != world.product.levels:
        raise Broken(f"the product has {world.product.levels}, we have {levels}")
    for account, level in levels.items():
        if level == "full":
            continue
        ((open_cases,),) = world.database.rows(
            "SELECT count(*) FROM cases WHERE account_id = ? AND NOT ended AND playbook IN (?, ?)",
            account,
            *BY_LOOKING,
        )
        lost = world.database.rows("SELECT 1 FROM cases WHERE account_id = ? AND outcome = 'run_lost'", account)
        subjects = [
            row[0]
            for row in world.database.rows(
                "SELECT s.subject FROM case_subjects s JOIN cases c ON c.id = s.case_id"
                " WHERE c.account_id = ? AND c.playbook IN (?, ?)",
                account,
                *BY_LOOKING,
            )
        ]
        settled = all(world.stripe.get("invoice", each)["status"] in SETTLED for each in subjects)
        if settled and not open_cases and not lost:
            raise Broken(f"{account} is {level}, though all is settled and nobody sees to it")


def _offers_agree(world: World) -> None:
    """One discount a year and account, within the limits; Stripe has what was accepted, once."""
    rows = world.database.rows("SELECT account_id, pct, months, approver, what, state FROM offers")
    accepted = Counter(row[0] for row in rows if row[4] == "discount" and row[5] == "accepted")
    for account, number in accepted.items():
        if number > 1:
            raise Broken(f"{number} discounts accepted by {account} within a year")
    for account, pct, months, approver, what, _ in rows:
        most = 49 if approver else world.rig.policy.default.offers.max_pct
        if months > 3 or (what == "discount" and not 0 < pct <= most):
            raise Broken(f"an offer beyond the limits to {account}: {pct} % for {months} months")
    for subscription in world.stripe.kinds.get("subscription", {}).values():
        if len(subscription["discounts"]) > 1:
            raise Broken(f"two discounts on {subscription['id']}")
    done = world.database.rows("SELECT key, detail FROM effects WHERE kind = 'apply_offer' AND state = 'done'")
    for key, _ in done:
        marks = [each for each in world.stripe.kinds["subscription"].values() if each["metadata"]]
        if not marks:
            raise Broken(f"{key} is done, but Stripe has nothing of it")


def _stripe_agrees(world: World) -> None:
    """What we say we charged is paid; whoever paid is not asked any more."""
    for key, invoice in world.database.rows("SELECT key, invoice FROM attempts WHERE succeeded"):
        if world.stripe.get("invoice", invoice)["status"] != "paid":
            raise Broken(f"{key} says that {invoice} was charged; it is not paid")
    for case, account in world.database.rows(
        "SELECT id, account_id FROM cases WHERE NOT ended AND playbook = 'payment-failure'"
    ):
        run = world.temporal.runs[case]
        subjects = [row[0] for row in world.database.rows("SELECT subject FROM case_subjects WHERE case_id = ?", case)]
        if not run.terminated and all(world.stripe.get("invoice", each)["status"] in SETTLED for each in subjects):
            raise Broken(f"{case} of {account} goes on, though every invoice is settled at Stripe")
