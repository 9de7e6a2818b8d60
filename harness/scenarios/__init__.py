"""How evidence is made: one function per scenario drives a system and returns evidence."""
