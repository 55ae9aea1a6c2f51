"""Links into Temporal's Web UI."""

from urllib.parse import quote


def run_url(temporal_ui: str, case: str, namespace: str) -> str:
    """Where the Web UI at `temporal_ui` shows the runs of a case; empty without a Web UI."""
    if not temporal_ui:
        return ""
    query = quote(f'WorkflowId="{case}"')
    return f"{temporal_ui.rstrip('/')}/namespaces/{quote(namespace, safe='')}/workflows?query={query}"
