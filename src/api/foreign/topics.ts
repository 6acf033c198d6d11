/**
 * Topics that labels of foreign things are chosen from where nobody names other words: common nouns, from gardens to geometry. Those that are
 * near to the classes at hand are left out when they are mined.
 */
export const topics: readonly string[] = `
  gardening, cooking, fishing, sailing, chess, knitting, carpentry, pottery, beekeeping, astronomy, geology, botany, zoology, anatomy, dentistry, surgery, nursing, pharmacy, nutrition, yoga,
  meditation, religion, philosophy, ethics, mythology, folklore, poetry, fiction, theatre, opera, ballet, jazz, guitar, piano, drums, painting, sculpture, photography, cinema, animation,
  fashion, jewellery, perfume, cosmetics, furniture, architecture, plumbing, roofing, bricklaying, welding, electricity, heating, lighting, kitchens, bathrooms, cleaning, laundry, recycling, sewage, farming,
  cattle, horses, sheep, poultry, dogs, cats, parrots, aquariums, insects, butterflies, spiders, snakes, frogs, whales, sharks, dinosaurs, fossils, volcanoes, earthquakes, glaciers,
  deserts, forests, rivers, lakes, oceans, islands, mountains, caves, weather, storms, snow, rainbows, clouds, seasons, calendars, clocks, maps, compasses, bridges, tunnels,
  railways, buses, bicycles, motorcycles, trucks, ships, ferries, submarines, aircraft, helicopters, balloons, rockets, satellites, planets, comets, stars, galaxies, gravity, magnetism, optics,
  acoustics, chemistry, metals, glass, plastics, textiles, wool, leather, paper, printing, libraries, museums, castles, cathedrals, cemeteries, monuments, archaeology, genealogy, grammar, spelling,
  handwriting, translation, dictionaries, proverbs, riddles, jokes, puppets, toys, dolls, puzzles, cards, dice, billiards, juggling, magic, circuses, festivals, weddings, birthdays, funerals,
  holidays, hotels, camping, hiking, climbing, skiing, skating, surfing, diving, rowing, archery, fencing, wrestling, boxing, golf, tennis, cricket, rugby, baseball, gymnastics,
  schools, teachers, exams, homework, kindergartens, universities, scholarships, parenting, babies, childhood, adolescence, marriage, divorce, grandparents, friendship, neighbours, loneliness, happiness, anger, fear,
  dreams, sleep, memory, headaches, allergies, vaccines, diabetes, blindness, deafness, eyeglasses, wheelchairs, ambulances, hospitals, firefighting, police, prisons, courts, lawyers, inheritance, insurance,
  mortgages, taxes, pensions, banking, coins, stamps, auctions, advertising, packaging, warehouses, supermarkets, bakeries, butchers, restaurants, coffee, tea, wine, beer, cheese, bread,
  chocolate, honey, spices, salt, sugar, rice, potatoes, tomatoes, apples, oranges, bananas, grapes, nuts, mushrooms, eggs, soup, salads, desserts, vegetarianism, hunger,
  refugees, elections, parliaments, kings, presidents, diplomacy, treaties, armies, navies, knights, pirates, espionage, revolutions, slavery, colonies, empires, census, passports, borders, flags,
  computers, keyboards, printers, cameras, telephones, radio, television, newspapers, magazines, letters, robots, encryption, databases, spreadsheets, algebra, geometry, statistics, probability, logic, infinity
`
  .split(',')
  .map(topic => topic.trim())
