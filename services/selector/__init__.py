"""The selector opens windows and invites a cohort to each."""
