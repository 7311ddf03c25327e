"""What workers and machines share by way of a Redis or Valkey: rates and cached answers. Never
money or keys: it may be gone at any moment, and then nothing a client can see changes."""
