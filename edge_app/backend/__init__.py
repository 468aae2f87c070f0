"""The backend: takes the alerts of all devices, once each, and keeps them as long as it may."""
