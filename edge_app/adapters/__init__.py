"""The outside world: cameras, models, stores, brokers, displays."""
