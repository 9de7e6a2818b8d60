"""What is promised of a system, by subject: evidence, how it is made, what must hold."""
