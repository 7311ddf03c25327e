-- usage_detail: what is seldom used, as JSON by the names that Usage has: sound, pictures, searches,
-- the service tier, the provider's own figure (told_nano), what was wrong with its report (flags).
-- NULL where there is none of it. Parts are parts of input and output, as in the columns.
ALTER TABLE entry ADD COLUMN usage_detail TEXT;
ALTER TABLE attempt ADD COLUMN usage_detail TEXT;
