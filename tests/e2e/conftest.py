"""The fixture that every test here stands on."""

from e2e_house import house as house
