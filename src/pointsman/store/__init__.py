"""One SQL layer over SQLite and PostgreSQL: every statement is written once."""
