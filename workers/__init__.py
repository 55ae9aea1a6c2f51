"""The processes: worker, schedules, command line, and the Temporal server they talk to."""
