"""How an order ended, in the same words through every door: tables and sentences for people, one JSON object for programs."""
