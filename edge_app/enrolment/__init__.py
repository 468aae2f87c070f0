"""The enrolment station: guided capture, consent notice, receipt, revocation code."""
