"""The list of guards. A new guard is one entry: where it stands, what takes it out, which test notices."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Guard:
    """`old` is replaced by `new` in `file`; then `test` (a pytest node, or a file with `-k` words) has to fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
    words: str = ""


def rule(name: str, test: str, words: str) -> Guard:
    """A rule of the send gate, left out of the list of rules."""
    return Guard(f"gate: {name}", "models/gate.py", f"    {name},\n", "", test, words)


PAYMENT: Final = "tests/workflows/test_payment_failure.py"
LOST: Final = "tests/activities/test_lost_answers.py"
RELAY: Final = "tests/web/test_relay.py"
PRECEDENCE: Final = "tests/models/test_precedence.py"
CAPS: Final = "tests/models/test_caps.py"
HOURS: Final = "tests/models/test_hours.py"
HOLDS: Final = "tests/models/test_holds.py"
WAITING: Final = "tests/activities/test_waiting.py"
TAKEN: Final = "tests/web/test_taken_webhooks.py"
REFUSED: Final = "tests/web/test_refused_webhooks.py"

GUARDS: Final[tuple[Guard, ...]] = (
    rule("the_case_is_open", "tests/activities/test_guards.py", "ended_after_the_batch_began"),
    rule("nothing_new_was_heard", "tests/activities/test_guards.py", "between_the_look_and_the_claim"),
    rule("the_card_may_be_charged", PAYMENT, "hard_decline_is_never_retried"),
    rule("it_changes_something", PAYMENT, "p1_13_payment_lifts or p1_13_paid_by_any_route"),
    rule("nothing_else_is_due", "tests/workflows/test_hard_moments.py", "only_when_nothing_else_is_due"),
    rule("nobody_opted_out", "tests/models/test_offers_gate.py", "opted_out"),
    rule("no_favours_in_trouble", PRECEDENCE, "p0_9_no_favour_is_asked"),
    rule("nobody_more_urgent_speaks", PRECEDENCE, "p0_8_a_less_urgent_run_says_nothing"),
    rule("it_is_their_working_time", HOURS, "p0_17_a_mail_at_night_waits"),
    rule("the_caps_hold", CAPS, "t4_2_one_marketing_mail_a_day"),
    rule("nothing_is_on_hold", HOLDS, "a_hold_makes_wait_what_it_names"),
    Guard(
        "caps: whoever writes to one person takes turns",
        "models/asking.py",
        '    if asked.session.get_bind().dialect.name == "postgresql":\n',
        "    if False:\n",
        CAPS,
        "t4_2_twenty_runs",
    ),
    Guard(
        "caps: a required notice is exempt",
        "models/caps.py",
        'touch is None or touch.nature != "marketing"',
        "touch is None",
        CAPS,
        "t4_2_required_and_service",
    ),
    Guard(
        "caps: a mail waits only so long",
        "models/caps.py",
        "    if until - await waits_since(",
        "    if False and until - await waits_since(",
        CAPS,
        "t4_2_a_mail_waits_three_days_in_all",
    ),
    Guard(
        "caps: days are the reader's",
        "models/touch.py",
        "zones = (person.timezone if person else",
        'zones = ("" if person else',
        CAPS,
        "t4_2_days_are_those_of_the_reader",
    ),
    Guard(
        "precedence: a required notice passes",
        "models/precedence.py",
        'asked.touch.nature != "required"',
        "True",
        PRECEDENCE,
        "p0_8_a_required_notice_passes",
    ),
    Guard(
        "precedence: nobody waits for the floor for ever",
        "models/precedence.py",
        "if asked.batch.now - since >= timedelta(days=rules.wait_days):",
        "if False:",
        PRECEDENCE,
        "p0_8_a_renewal_waits_for_the_floor",
    ),
    Guard(
        "precedence: a renewal that said nothing holds no floor",
        "models/precedence.py",
        "if case.precedence not in URGENT and not await _spoke_lately(asked, case):",
        "if False:",
        PRECEDENCE,
        "p0_8_a_renewal_holds_the_floor_for_a_week",
    ),
    Guard(
        "hours: the end does not belong to the window",
        "models/hours.py",
        "if opens < closes and moment < closes:",
        "if opens < closes and moment <= closes:",
        HOURS,
        "p0_17_nine_belongs",
    ),
    Guard(
        "hours: public holidays",
        "models/hours.py",
        "self.days and day not in holidays_of(self.country))",
        "self.days)",
        HOURS,
        "p0_17_on_public_holidays",
    ),
    Guard(
        "hours: a morning is spread",
        "models/touch.py",
        "until = opens + spread(asked.effect.key, asked.policy.hours.spread_minutes)",
        "until = opens",
        HOURS,
        "p0_17_a_mail_at_night_waits",
    ),
    Guard(
        "hours: the first billing notice goes at once",
        "models/touch.py",
        "if touch is None or touch.at_once or asked.parting:",
        "if touch is None or asked.parting:",
        HOURS,
        "p0_17_the_first_billing_notice",
    ),
    Guard(
        "hours: a late try is judged by its own moment",
        "activities/carry_out.py",
        "now = max(batch.now, activity.info().started_time)",
        "now = batch.now",
        WAITING,
        "p0_17_a_step_that_an_outage_kept",
    ),
    Guard(
        "hours: a case stays open for a last mail that waits",
        "activities/carry_out.py",
        "                if held:\n                    return self._waits(held)\n",
        "                if False:\n                    pass\n",
        WAITING,
        "p0_17_before_a_last_mail",
    ),
    Guard(
        "holds: what is owed at the end is not lost",
        "activities/carry_out.py",
        "            held = await self._do(effect, parting=True)\n            if held:\n",
        "            held = await self._do(effect, parting=True)\n            if False:\n",
        WAITING,
        "what_is_owed_waits_for_the_release",
    ),
    Guard(
        "holds: a release is no burst",
        "models/holds.py",
        "each.wall_released_at + spread(asked.effect.key, each.spread_minutes)",
        "each.wall_released_at",
        HOLDS,
        "a_released_hold_lets_go",
    ),
    Guard(
        "evidence: what had to wait is kept",
        "models/ledger.py",
        "    if held and held.until:\n        await _defer(asked, held)\n",
        "    if held and held.until:\n",
        HOURS,
        "p0_17_a_mail_at_night_waits",
    ),
    Guard(
        "evidence: what was required says so",
        "models/ledger.py",
        "else why_it_went(asked)",
        'else ("", "")',
        PRECEDENCE,
        "p0_8_a_required_notice_passes",
    ),
    Guard(
        "a run that is paused while a mail waits stays paused",
        "workflows/playbook.py",
        'only_looks = self._held and self._paused_at is not None and workflow.patched("held-steps-stay-paused")',
        "only_looks = False",
        "tests/workflows/test_hours.py",
        "paused_while_a_mail_waits",
    ),
    rule("the_offer_is_allowed", "tests/models/test_offers_gate.py", "o7_one_discount_a_year or keeps_to_the_limits"),
    rule("the_offer_stands", "tests/models/test_offers_gate.py", "only_while_its_offer_stands"),
    Guard(
        "unique inbox event",
        "models/ledger.py",
        "insert(table).values(**values).on_conflict_do_nothing()",
        'insert(table).values(**{**values, **({"event_id": values["event_id"] + str(id(values))} if "event_id" in values else {})}).on_conflict_do_nothing()',
        TAKEN,
        "a_duplicate_event_is_one_row",
    ),
    Guard(
        "claim before act: an effect is done once",
        "models/ledger.py",
        "    known = await session.get(EffectRow, effect.key)\n    if known:\n        return known, False\n",
        "    known = await session.get(EffectRow, effect.key)\n    if known:\n        return known, True\n",
        "tests/activities/test_guards.py",
    ),
    Guard(
        "nothing leaves long after its claim",
        "activities/systems.py",
        "monotonic() - moment > FRESH_S",
        "False",
        "tests/activities/test_stopped_in_the_middle.py",
    ),
    Guard(
        "a claim is given back by its own try only",
        "models/ledger.py",
        "if row is None or row.wall_claimed_at != claimed_at:",
        "if row is None:",
        "tests/activities/test_stopped_in_the_middle.py",
        "claim_of_who_took_over",
    ),
    Guard(
        "access is written only under a claim",
        "activities/access.py",
        'if claim is None or claim.state != "claimed":',
        "if claim is None:",
        "tests/activities/test_stopped_in_the_middle.py",
        "whose_claim_is_gone",
    ),
    Guard(
        "the provider's idempotency key",
        "activities/billing.py",
        '{"idempotency_key": key})',
        "{})",
        "tests/activities/test_guards.py",
    ),
    Guard(
        "a lost charge is looked up",
        "activities/carry_out.py",
        "        await self._settle_what_was_lost()\n",
        "",
        LOST,
        "a_charge_that_succeeds_is_made_once",
    ),
    Guard(
        "in doubt is not sent again",
        "activities/messages.py",
        'return Answer("in_doubt", "the answer was lost; not sent again, SendGrid\'s events may settle it")',
        "return None",
        LOST,
        "whose_fate_is_unknown_is_never_sent_again",
    ),
    Guard(
        "look() before every step",
        "activities/carry_out.py",
        "        picture = await watch.look(self._batch) if watch else Picture()\n",
        "        picture = await watch.look(self._batch) if watch and self._batch.step == 'tell_them' else self._picture\n",
        PAYMENT,
        "a_lost_webhook_is_found_by_the_next_look",
    ),
    Guard(
        "network cap",
        "models/gate.py",
        '    if rule:\n        return Held("network_cap"',
        '    if False and rule:\n        return Held("network_cap"',
        PAYMENT,
        "network_cap_holds_over_cases",
    ),
    Guard(
        "reuse policy: an id is used once",
        "workers/relay.py",
        "id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE",
        "id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE",
        "tests/activities/test_guards.py",
    ),
    Guard(
        "an ended case stays ended",
        "workers/routing.py",
        '        if known and known.ended:\n            return None, f"{case_id} has ended: {known.outcome}"\n',
        "",
        RELAY,
        "comes_once_more_after_the_end or a_case_that_has_ended",
    ),
    Guard(
        "one open case for an account",
        "workers/routing.py",
        "        if joined:\n            return joined\n",
        "",
        RELAY,
        "p1_20_a_second_invoice_joins or where_nothing_joins",
    ),
    Guard(
        "cool-down",
        "workers/routing.py",
        "or await self._rests(session, name, lane, fact) ",
        "",
        "tests/web/test_start_guards.py",
    ),
    Guard(
        "an old fact starts nothing",
        "workers/routing.py",
        "self._too_old(fact) or ",
        "",
        "tests/web/test_start_guards.py",
    ),
    Guard(
        "an unknown account is parked",
        "workers/relay.py",
        "        except UnknownAccount as error:\n",
        "        except ZeroDivisionError as error:\n",
        "tests/web/test_events.py",
        "unknown_account_is_parked",
    ),
    Guard(
        "a fact is learned once",
        "models/learning.py",
        "    if lesson is None or event.learned:\n",
        "    if lesson is None:\n",
        "tests/web/test_start_guards.py",
    ),
    Guard(
        "an older fact does not undo a newer one",
        "models/learning.py",
        "if contract is None or (contract.told_at and event.occurred_at < contract.told_at):",
        "if contract is None:",
        "tests/web/test_start_guards.py",
    ),
    Guard(
        "Stripe's signature",
        "web/signatures.py",
        "    if not fits:\n",
        "    if False:\n",
        REFUSED,
        "a_bad_signature_is_refused",
    ),
    Guard(
        "the signature's age",
        "web/signatures.py",
        "    if age > TOLERANCE_S:\n",
        "    if False:\n",
        REFUSED,
        "a_bad_signature_is_refused or the_window_ends",
    ),
    Guard(
        "Standard Webhooks' signature",
        "web/standard_webhooks.py",
        "compare_digest",
        "__class__ and (lambda *_: True)",
        "tests/web/test_standard_webhooks.py",
    ),
    Guard(
        "a lead's command is checked",
        "workflows/commands.py",
        "        if not 0 < days <= LONGEST_SNOOZE_DAYS:\n",
        "        if False:\n",
        "tests/workflows/test_steering.py",
        "does_not_fit",
    ),
    Guard(
        "a quiet time after an outage",
        "workflows/steps.py",
        "    return max(planned, last.at + min(gap, QUIET))\n",
        "    return planned\n",
        "tests/workflows/test_steps.py",
    ),
    Guard(
        "an answer is found by the history alone",
        "workflows/commands.py",
        'asked = sorted(key for key in self._open_tasks if key.split("/")[-2] == step)',
        'asked = sorted(key for key in self._open_tasks & self._questions.keys() if key.split("/")[-2] == step)',
        "tests/workflows/test_edits.py",
        "with_what_the_table_asks_for",
    ),
    Guard(
        "outgoing webhooks stay outside",
        "activities/outgoing_webhooks.py",
        "if address.is_private or not address.is_global:",
        "if False:",
        "tests/activities/test_outgoing_webhooks.py",
    ),
    Guard(
        "rate limit",
        "web/app.py",
        "    app.add_middleware(RateLimited, limits=settings.limits)\n",
        "",
        "tests/web/test_rate_limits.py",
    ),
    Guard(
        "SQLite takes the write lock first",
        "models/database.py",
        'connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")',
        'connection.exec_driver_sql("BEGIN")',
        "tests/models/test_tables.py",
        "no_update_is_lost",
    ),
    Guard(
        "a case cannot close over a subject that joined",
        "models/ledger.py",
        "    if batch.watch and any(row.subject not in picture.fates for row in await subjects_of(session, batch.case)):\n        return False\n",
        "",
        "tests/workflows/test_hard_moments.py",
    ),
)
