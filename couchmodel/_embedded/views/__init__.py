"""Views and Mango indexes: design documents, their functions, and the rows that are stored of them."""
