"""A daily scan over all accounts (T2.2, T2.3): asks for one window of accounts after the other."""

from datetime import date, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from models.scans import TITLES, Found, Scan, ScanJob

MEANT_FOR: Final = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""When the schedule meant to start it: a scan that is caught up late, or begins before midnight, keeps its day."""
WINDOWS_A_RUN: Final = 200
"""About 1,200 events of history; then the scan goes on in a new one."""


@workflow.defn(name="scan")
class ScanAccounts:
    """Goes through all accounts once for a day. What it finds becomes rows of the inbox, and the relay starts runs."""

    @workflow.run
    async def run(self, job: ScanJob) -> Found:
        """Every window until the last account."""
        day = job.day or self._day()
        so_far = job.so_far
        windows = 0
        while not so_far.done:
            if windows >= WINDOWS_A_RUN or workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(job.model_copy(update={"day": day, "so_far": so_far}))
            self._show(job, day, so_far)
            found: Found = await workflow.execute_activity(
                "scan",
                Scan(which=job.which, day=day, window=job.window, after=so_far.after),
                result_type=Found,
                summary=f"{job.which} {day}, after {so_far.after or 'the beginning'}",
                start_to_close_timeout=timedelta(hours=2),
                # Given up before the next day's scan, which would else be skipped.
                schedule_to_close_timeout=timedelta(hours=20),
                heartbeat_timeout=timedelta(seconds=60),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=5)),
            )
            so_far = so_far.plus(found)
            windows += 1
        self._show(job, day, so_far)
        return so_far

    def _day(self) -> date:
        meant = workflow.info().typed_search_attributes.get(MEANT_FOR)
        return (meant or workflow.now()).date()

    def _show(self, job: ScanJob, day: date, so_far: Found) -> None:
        title = f"**{TITLES[job.which]}**, as of {day} (UTC)"
        state = "done" if so_far.done else f"under way, {so_far.pages:,} pages so far"
        workflow.set_current_details(f"{title}: {state}\n\n{so_far.in_words()}.")
