-- hedge: made beside an attempt that was late, on another deployment. The one of the two that did
-- not answer first was called off; its outcome is 'abandoned'. Neither is a fallback.
ALTER TABLE attempt ADD COLUMN hedge INTEGER NOT NULL DEFAULT 0 CHECK (hedge IN (0, 1));
