"""Run the JavaScript functions of design documents, in processes of their own."""
