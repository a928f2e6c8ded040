"""What is explained: networks with their preprocessing, labels, layers and output; views and prepared copies."""
