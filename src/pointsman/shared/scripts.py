"""What is done in a Redis or Valkey in one go, in its own language and by its own clock.

Names and cells:

    {pointsman}:workers            who lives: worker → until when, as a sorted set
    {pointsman}:account:DIGEST     what is taken of an account: `s` + a slice's start → how much,
                                   `u` + start → how much of it is used up; of slots a cell per
                                   worker, which counts as long as that worker lives
    {pointsman}:lease:WORKER:ID    g, r, u: what a lease was granted, has returned, has used

The braces keep all of them on one machine of a cluster. Numbers are exact up to 2^53.
"""

from __future__ import annotations

from typing import Final

_TIME: Final = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local function lives(worker)
  local until_ = redis.call('ZSCORE', KEYS[1], worker)
  return until_ and tonumber(until_) >= now
end
local function text(n) return string.format('%.0f', n) end
"""

RENEW: Final = (
    _TIME
    + """
-- ARGV: worker, seconds that it lives, whether it was here before
if ARGV[3] == '1' and not lives(ARGV[1]) then return {t[1], t[2], 0, 0} end
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.6f', now - 60))
redis.call('EXPIRE', KEYS[1], 86400)
return {t[1], t[2], 1, redis.call('ZCOUNT', KEYS[1], string.format('%.6f', now), '+inf')}
"""
)
"""→ seconds, microseconds, 1 or 0 (it was forgotten), how many live."""

GRANT: Final = (
    _TIME
    + """
-- KEYS: workers, then account and lease of each want.
-- ARGV: worker, then eight of each want: slots, start, until, since, limit, least, wish, passes,
-- and how long to keep, in milliseconds
if not lives(ARGV[1]) then return {t[1], t[2], 'fenced'} end
local wants = (#KEYS - 1) / 2
local lefts, amounts = {}, {}
for i = 1, wants do
  local account, at = KEYS[2 * i], 2 + (i - 1) * 9
  local slots, start, until_ = ARGV[at] == '1', tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local since, limit = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local least, wish = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  if now < start or now >= until_ then return {t[1], t[2], 'late'} end
  local cells, taken, counting = redis.call('HGETALL', account), 0, {}
  for j = 1, #cells, 2 do
    local name, amount = cells[j], tonumber(cells[j + 1])
    if slots then
      if lives(name) then taken = taken + amount else redis.call('HDEL', account, name) end
    elseif tonumber(string.sub(name, 2)) < since then
      redis.call('HDEL', account, name)
    elseif string.sub(name, 1, 1) == 's' then
      taken = taken + amount
      counting[#counting + 1] = string.sub(name, 2)
      counting[#counting + 1] = text(amount)
    end
  end
  local left = limit - taken
  local amount = least
  if left >= least then
    amount = math.max(least, math.min(math.floor(left / 50), wish))
  elseif ARGV[at + 7] ~= '1' then
    amount = 0
  end
  if amount <= 0 then return {t[1], t[2], 'refused', i - 1, left, counting} end
  lefts[i], amounts[i] = left, amount
end
local granted = {}
for i = 1, wants do
  local account, lease, at = KEYS[2 * i], KEYS[2 * i + 1], 2 + (i - 1) * 9
  local cell = ARGV[at] == '1' and ARGV[1] or 's' .. ARGV[at + 1]
  redis.call('HINCRBY', account, cell, text(amounts[i]))
  local sum = redis.call('HINCRBY', lease, 'g', text(amounts[i]))
  redis.call('PEXPIRE', account, ARGV[at + 8])
  redis.call('PEXPIRE', lease, ARGV[at + 8])
  local back = tonumber(redis.call('HGET', lease, 'r') or '0')
  granted[i] = {sum, back, lefts[i] - amounts[i]}
end
return {t[1], t[2], 'granted', granted}
"""
)
"""All wants or none. → seconds, microseconds, and `fenced`; `late` (its clock is in another
slice); `refused`, which want, what is left, its slices; or `granted`, of each its sums and left."""

GIVE_BACK: Final = (
    _TIME
    + """
-- KEYS: workers, then account and lease of each.
-- ARGV: four of each: the account's cell, the cell of what is used or '', returned, used
for i = 1, (#KEYS - 1) / 2 do
  local account, lease, at = KEYS[2 * i], KEYS[2 * i + 1], 1 + (i - 1) * 4
  local was = redis.call('HMGET', lease, 'g', 'r', 'u')
  if was[1] then
    local g, r, u = tonumber(was[1]), tonumber(was[2] or '0'), tonumber(was[3] or '0')
    local r2, u2 = math.max(r, tonumber(ARGV[at + 2])), math.max(u, tonumber(ARGV[at + 3]))
    -- More was used than was ever granted: what an estimate was too small by.
    local g2 = math.max(g, u2 + r2)
    redis.call('HSET', lease, 'g', text(g2), 'r', text(r2), 'u', text(u2))
    if redis.call('HEXISTS', account, ARGV[at]) == 1 then
      redis.call('HINCRBY', account, ARGV[at], text((g2 - r2) - (g - r)))
      if ARGV[at + 1] ~= '' then
        redis.call('HINCRBY', account, ARGV[at + 1], text(u2 - u))
      end
    end
  end
end
return {t[1], t[2]}
"""
)
"""Sums since each lease began: what was told twice changes nothing."""
