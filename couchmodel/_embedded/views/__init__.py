"""Views and Mango indexes: design documents, their map and reduce functions, and the stored rows of their indexes."""
