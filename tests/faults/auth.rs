//! Fault 32: credentials and permissions at the server.
