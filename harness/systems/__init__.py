"""Who is asked: the protocol, the builtin system and its parts, fresh processes."""
