"""Alerts: who is told of money, and when. `alerts.py` has the whole, the others a part each."""
