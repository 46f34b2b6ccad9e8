"""Where in a radiograph does an answer come from, and can such a map be believed?"""
