"""Web pages: who may ask for them, how they are rendered, where they are served."""
