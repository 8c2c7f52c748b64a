import hashlib
import hmac


class Database:
    """The login of the records database: the password itself never leaves this object."""

    def __init__(self, password):
        self._key = hashlib.pbkdf2_hmac("sha256", password.encode(), b"clinic-records", 1000)

    def answer(self, challenge):
        """What the database server is sent for its challenge."""
        return hmac.new(self._key, challenge, hashlib.sha256).hexdigest()

    def fingerprint(self):
        """Tells two passwords apart in a log."""
        return self.answer(b"fingerprint")[:16]
