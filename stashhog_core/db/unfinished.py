"""The indexes of the few rows that each run of the workflow asks for.

They are apart from the tables, most of whose rows are done: what a run costs must not
grow with what earlier runs have done.
"""

from sqlalchemy import Index, text

from stashhog_core.db.models import AnalysisPlan, PlanChange, StashJob

UNFINISHED_CHANGES = Index(
    "ix_plan_change_unfinished",
    PlanChange.plan_id,
    postgresql_where=text("state IN ('approved', 'failed')"),
)
PLANS_OF_A_RUN = Index("ix_analysis_plan_run_id", AnalysisPlan.run_id)
OPEN_JOBS = Index(
    "ix_stash_job_open", StashJob.id, postgresql_where=text("state = 'open'")
)
