"""What an HTTP client is given that never speaks TLS, as the servers of the tests do not."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without certificates: to read those of the system takes longer than most requests of a test."""
