"""What the paper reports and claims, and what each of its tables and figures needs."""
