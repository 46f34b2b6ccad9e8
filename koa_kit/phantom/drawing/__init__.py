"""From a knee's signs to its radiograph."""
