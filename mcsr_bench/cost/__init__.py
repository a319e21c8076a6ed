"""What a method costs: counted (`counting`), timed (`timing`), and the table of both."""
