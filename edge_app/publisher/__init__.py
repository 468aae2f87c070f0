"""The operator's side: takes enrolments in, and publishes the fleet's gallery."""
