-- Version 2. Sweeps are held back by people or by a breaker; failed trials are tried again.

-- NULL where nothing holds it, else 'paused', 'cancelled' or 'broken: ' and why.
ALTER TABLE sweeps ADD COLUMN hold TEXT;

-- NULL: never.
ALTER TABLE sweeps ADD COLUMN same_error_max INTEGER;
UPDATE sweeps SET same_error_max = 20;

-- 1 where the latest attempt had an outcome that was taken back: nothing more is taken from it.
ALTER TABLE trials ADD COLUMN fenced INTEGER NOT NULL DEFAULT 0;
