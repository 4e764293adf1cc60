"""What finds failures: ``pdms`` (the policy's own) and ``criticality`` (near-misses of the log)."""
