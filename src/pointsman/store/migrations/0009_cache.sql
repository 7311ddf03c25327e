-- cache: how the cache took part: 'hit', 'similar', 'miss', 'bypass', '' where there was none.
-- saved_nano: what an answer from the cache had cost when it was made; cost_nano is 0 then.
ALTER TABLE entry ADD COLUMN cache TEXT NOT NULL DEFAULT ''
  CHECK (cache IN ('', 'hit', 'similar', 'miss', 'bypass'));
ALTER TABLE entry ADD COLUMN saved_nano INTEGER NOT NULL DEFAULT 0 CHECK (saved_nano >= 0);
