"""Review in the browser: plans, their pictures, and decisions by keyboard."""
