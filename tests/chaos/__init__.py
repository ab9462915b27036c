"""Break everything on purpose, and judge by the database and by Mux's record what came of it."""
