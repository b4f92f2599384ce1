"""Small falsifications of the code, each with the test that notices it: `python -m tests.mutants` applies them one by one."""
