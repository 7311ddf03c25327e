"""Who may call and who may administer: keys, tenants, stored budgets, and the audit of changes."""
