"""What is done, what is left, how long it takes, and a queue that works through it."""
