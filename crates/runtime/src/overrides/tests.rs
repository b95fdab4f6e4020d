mod cases;
mod forgeries;
mod machine;
mod table;
mod words;
mod world;
