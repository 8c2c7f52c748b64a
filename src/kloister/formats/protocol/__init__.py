"""Messages between the parts: what they say, how it is bound and sealed. No I/O here."""
