"""What a direction is judged by: what people see in its translations, measured. Pictures are lists of (h, w, 3) RGB bytes."""
