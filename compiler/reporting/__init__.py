"""Reports for people: explain, pictures of graphs."""
