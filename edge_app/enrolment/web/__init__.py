"""The page on which a person enrols, sees their record, and leaves."""
