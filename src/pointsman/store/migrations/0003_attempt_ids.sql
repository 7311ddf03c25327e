-- id: what the provider was told as this attempt's id, unique over all workers; "" in older rows.
-- charged_nano: what budgets count for it where that is not cost_nano; NULL where it is.
ALTER TABLE attempt ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN charged_nano INTEGER CHECK (charged_nano >= 0);

CREATE UNIQUE INDEX attempt_id ON attempt (id) WHERE id <> '';
