"""OpenAI's chat completions, as OpenAI and the many that are compatible speak them."""
