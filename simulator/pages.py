"""Pages for a human who tries the demo: the hosted invoice and the mailbox."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.datastructures import FormData

from simulator import issuer, lifecycle
from simulator.errors import ApiError
from simulator.sendgrid_api import Mail
from simulator.world import World

Json = dict[str, Any]

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1c2230}
main{max-width:34rem;margin:3rem auto;padding:2rem;background:#fff;border-radius:12px;box-shadow:0 2px 12px #0001}
h1{font-size:1.25rem;margin:0 0 1rem}.amount{font-size:2.25rem;font-weight:600}
.status{display:inline-block;padding:.1rem .6rem;border-radius:1rem;background:#e6e9ef}
input,button{font:inherit;padding:.6rem .8rem;border-radius:8px;border:1px solid #c5cad5}
input,button{width:100%;box-sizing:border-box}
button{background:#2f5bea;color:#fff;border:0;margin-top:.8rem;cursor:pointer}
.problem{color:#a3182e}table{width:100%;border-collapse:collapse}td{padding:.4rem;border-top:1px solid #e6e9ef}
iframe{width:100%;height:36rem;border:1px solid #e6e9ef}
"""

SANDBOX = "allow-popups allow-popups-to-escape-sandbox"


def page(title: str, content: str) -> str:
    """A whole HTML page; `content` is HTML already."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main>{content}</main></body></html>"
    )


def invoice_page(world: World, invoice: Json, problem: str = "") -> str:
    """The hosted invoice page."""
    amount = f"{invoice['amount_remaining'] / 100:,.2f} {escape(invoice['currency'].upper())}"
    parts = [
        f"<h1>Invoice {escape(invoice['number'])}</h1>",
        f'<p class="amount">{amount}</p>',
        f'<p>Status: <span class="status" id="status">{escape(invoice["status"])}</span></p>',
        f"<p>For {escape(invoice['customer_name'] or invoice['customer_email'] or invoice['customer'])}</p>",
    ]
    if problem:
        parts.append(f'<p class="problem" role="alert">{escape(problem)}</p>')
    if invoice["status"] in ("open", "uncollectible"):
        parts.append(
            '<form method="post"><label>Card number <input name="number" value="4242424242424242" '
            'inputmode="numeric" autocomplete="off"></label><button>Pay with a new card</button></form>'
            "<p><small>Simulated: no money moves. 4000000000009995 has insufficient funds.</small></p>"
        )
    return page(f"Invoice {invoice['number']}", "".join(parts))


def pay_on_page(world: World, invoice: Json, form: FormData) -> str:
    """Pay with the card of the form, which becomes the customer's default. Returns a problem to show, or ""."""
    number = str(form.get("number", "")).replace(" ", "")
    if not (number.isdigit() and 12 <= len(number) <= 19):
        return "Please enter a card number."
    try:
        lifecycle.require_payable(invoice)
        method = lifecycle.new_card(world, number, {"always": issuer.TEST_CARDS.get(number, issuer.OK)})
        lifecycle.replace_card(world, world.get("customer", invoice["customer"]), method)
        intent = lifecycle.customer_pays(world, invoice, method)
    except ApiError as error:
        return str(error)
    return "" if intent["status"] == "succeeded" else str(intent["last_payment_error"]["message"])


def mailbox_page(mails: list[Mail]) -> str:
    """All mails, newest first."""
    rows = "".join(
        f'<tr><td><a href="/mailbox/{escape(mail.id)}">{escape(mail.subject)}</a></td>'
        f"<td>{escape(', '.join(mail.to))}</td></tr>"
        for mail in reversed(mails)
    )
    return page("Mailbox", f"<h1>Mailbox</h1><table>{rows or '<tr><td>No mail yet.</td></tr>'}</table>")


def mail_page(mail: Mail) -> str:
    """One mail as its reader sees it."""
    headers = "".join(f"<br>{escape(name)}: {escape(value)}" for name, value in mail.headers.items())
    shown = (
        f'<iframe title="Mail" sandbox="{SANDBOX}" srcdoc="{escape(mail.html)}"></iframe>'
        if mail.html
        else f"<pre>{escape(mail.text or '')}</pre>"
    )
    return page(
        mail.subject,
        f"<h1>{escape(mail.subject)}</h1>"
        f"<p>From: {escape(mail.sender)}<br>To: {escape(', '.join(mail.to))}{headers}</p>"
        f'{shown}<p><a href="/mailbox">All mail</a></p>',
    )
