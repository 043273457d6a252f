"""Evidence ``job``: which runbook ran, who or what started it, where, and how it ended."""

from detectors.model import Evidence
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.values import facts, parameters, run_on, when, wire

NAME, TITLE = "job", "Job"


async def collect(case: Case) -> Evidence:
    """The job's metadata; missing when the event is not about a job."""
    job = await case.job()
    environment = job.job_runtime_environment
    return Evidence(
        name=NAME,
        title=TITLE,
        facts=facts(
            [
                ("Runbook", job.runbook.name if job.runbook else None),
                ("Started by", job.started_by),
                ("Ran on", run_on(job.run_on)),
                ("Runtime environment", environment.runtime_environment_name if environment else None),
                ("Status", job.status),
                ("Status details", job.status_details if job.status_details != "None" else None),
                ("Created", when(job.creation_time)),
                ("Started", when(job.start_time)),
                ("Ended", when(job.end_time)),
                ("Exception", job.exception),
                ("Parameters", parameters(job.parameters)),
            ]
        ),
        data=wire(job),
    )
