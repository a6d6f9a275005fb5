"""What tasks return: XCom values, DataFrames, DB-API rows."""
