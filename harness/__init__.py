"""What both tracks need around the mathematics: the records that commands leave for each other."""
